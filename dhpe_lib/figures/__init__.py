"""Figures of hands: plotly meshes, overlays on photos, contact sheets, and a viewer with sliders."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "palette": ["FINGER_COLORS", "JOINT_COLORS"],
        "plotly_figures": ["mesh_figure", "mesh_trace", "scene", "skeleton_traces"],
        "sliders": ["picture_figure", "picture_slider", "slider_figure", "slider_view"],
        "diagrams": [
            "augmentation_loop",
            "bone_tree",
            "energy_line",
            "gradient_reach",
            "kato_sweep",
            "light_network",
            "method_parts",
            "pose_machine",
            "unrolled_regressor",
            "viewpoint_spheres",
        ],
        "dataset_figures": ["cameras_from_above", "joint_orders"],
        "svg": ["Drawing"],
        "drawing": ["draw_box", "draw_skeleton", "overlay", "signed_colors"],
        "gallery": [
            "SIDE_VIEW",
            "canonical_vertices",
            "from_two_sides",
            "heat_over",
            "mask_comparison",
            "mesh_alone",
            "mesh_over",
            "skeleton_over",
        ],
        "stills": ["FINGERS_UP", "FROM_LITTLE_FINGER", "mesh_stills", "model_steps", "moved_colors"],
        "html_records": ["csv_link"],
        "picture_rows": ["picture_row", "single_picture"],
        "viewer": ["hand_page", "hand_view", "hand_widget"],
        "triangle_figure": ["triangle_view"],
        "chapters": ["RESULTS", "chart", "machine_line", "markdown_table", "read_result", "results_table"],
    },
)
