"""Options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Inputs = Annotated[
    list[Path],
    typer.Option("--input", "-i", help="A slide, or a folder that is searched for slides. May be given several times."),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="A shipped model (smear, classical) or the folder of your own. \\[default: smear]"),
]
SecondOpinion = Annotated[
    str | None,
    typer.Option(
        "--second-opinion",
        help="Ask another classifier, by name or folder, of each white cell too; where they differ is flagged.",
    ),
]
Mpp = Annotated[
    float | None,
    typer.Option(
        "--mpp", help="um per pixel of every slide, instead of what the files say. One slide: use slides.csv."
    ),
]
Scales = Annotated[
    str | None,
    typer.Option(
        "--scales",
        help="single; or how many times larger than --mpp says cells are in parts of one small image, as 0.5,1,1.5. "
        "\\[default: auto, measured where the scale is]",
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of settings; flags win over it.", dir_okay=False)
]
Workers = Annotated[int | None, typer.Option("--workers", help="Processes. \\[default: one for every two cores]")]
Memory = Annotated[
    str | None, typer.Option("--memory", help="Most memory to use in all, as 8GB. \\[default: what is free]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
