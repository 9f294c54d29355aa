"""Pictures of hands and of curves: plotly figures, contact sheets, a viewer with sliders."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "plotting": [
            "draw_skeleton",
            "mesh_figure",
            "mesh_trace",
            "overlay",
            "picture_row",
            "scene",
            "skeleton_traces",
            "slider_figure",
        ],
        "viewer": ["hand_page", "hand_view"],
        "triangle_figure": ["triangle_view"],
        "chapters": ["RESULTS", "chart", "machine_line", "markdown_table", "read_result", "results_table"],
    },
)
