"""The differentiable renderers: f_Ren renders silhouettes and f_TRen renders textured images."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "renderer": ["Texture", "render", "silhouette"],
        "lighting": ["Light", "vertex_normals"],
        "projection": ["Pinhole", "label_map"],
        "uv_layout": ["TintedSkin", "hand_texture"],
        "texture_from_photo": ["lift_colors", "lift_texture"],
    },
)
