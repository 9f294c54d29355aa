"""Joint training (Eq. 7) and self-augmentation (Sec. 3.5)."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "losses": ["LossOptions", "Losses", "losses_of"],
        "config": ["TrainingConfig"],
        "loop": ["train"],
        "setup": ["build_network", "launch_fabric"],
        "log": ["read_curves"],
        "curves": ["dhpe_command", "follow", "training_figure"],
        "novel_views": ["NovelViewRenderer", "draw_novel_views"],
        "self_augmentation": ["GrowingSet", "SelfAugmentation"],
        "export": ["export_weights"],
    },
)
