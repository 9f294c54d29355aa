"""The paper's ablations (Figs. 5d to 5f), its claims, and whether they hold here."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ablation": ["ABLATION_VARIANTS", "measure", "plan", "train_all"],
        "ablation_figures": ["write_figures"],
        "choices": ["choices_list"],
        "claims": ["CLAIMS", "paired_interval", "verdict_of"],
        "claims_figures": ["gains_figure", "verdicts_figure"],
        "folded_claims": ["claims_list"],
        "paper_table": ["commands_table", "paper_rows"],
    },
)
