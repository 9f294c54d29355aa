"""The paper's ablations (Figs. 5d to 5f), and its claims beside what was measured here."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ablation": ["ABLATION_VARIANTS", "measure", "plan", "train_all"],
        "ablation_figures": ["write_figures"],
        "choices": ["choices_table"],
        "paper_rows": ["commands_table", "paper_rows", "rows_table"],
        "claims_figures": ["differences_figure", "verdicts_figure"],
    },
)
