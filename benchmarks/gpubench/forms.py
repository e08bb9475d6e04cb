"""How large everything is: published sizes on a GPU; small networks and images on a CPU, fewer of them in no time."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Form:
    """Sizes of a run; `name` is how the report calls it. Edges are in voxels, `spacing` in mm."""

    name: str
    # Whether networks are those of `cases.SMALL`; if not, they have published size.
    small: bool
    # Edges of the cubes and slices of one compared step, and of those that are trained on; images in a compared batch.
    agree_cube: int
    agree_slice: int
    cube: int
    slice: int
    agree_batch: int
    # Images in a batch; None is the method's own number.
    batch: int | None
    # Steps whose losses must fall; of each epoch of a run that is repeated; that are timed, at most.
    steps: int
    epoch_steps: int
    timed_steps: int
    # Of heads that are made, and how many there are: the last two validate and test.
    spacing: float
    heads: int
    # Of the volume that is predicted; the window it is cut into; the edge of the one that memory is taken from.
    volume: tuple[int, int, int]
    window: int
    tight: int
    # Patches of each head in an epoch of the training whose result is measured.
    per_volume: int
    # Seconds that the training whose result is measured takes at most.
    learning: float
    # Whether a compiled network is tried, which takes half a minute of compiling.
    compiled: bool
    # GB of the cards that are planned for.
    plan_sizes: tuple[int, ...] = (4, 8, 24, 80)


FULL = Form(
    name="published size: networks, 64^3 patches, 256^2 slices, volume of 192 x 224 x 192",
    small=False, agree_cube=32, agree_slice=64, cube=64, slice=256, agree_batch=2, batch=None,
    steps=50, epoch_steps=6, timed_steps=60, spacing=1.0, heads=8, volume=(192, 224, 192), window=96, tight=128,
    per_volume=40, learning=float("inf"), compiled=True,
)  # fmt: skip
CPU = Form(
    name="small: small networks, 24^3 patches, 32^2 slices, volume of 48 x 56 x 48, 6 steps where a GPU takes 50",
    small=True, agree_cube=24, agree_slice=32, cube=24, slice=32, agree_batch=2, batch=2,
    steps=6, epoch_steps=3, timed_steps=20, spacing=4.0, heads=5, volume=(48, 56, 48), window=32, tight=48,
    per_volume=10, learning=20.0, compiled=True, plan_sizes=(4,),
)  # fmt: skip
SHORT = replace(
    CPU,
    name="smallest: small networks, 24^3 patches, 32^2 slices, volume of 32 x 40 x 32, 4 steps where a GPU takes 50",
    steps=4, epoch_steps=2, timed_steps=6, spacing=6.0, heads=3, volume=(32, 40, 32), tight=36,
    learning=4.0, compiled=False, plan_sizes=(),
)  # fmt: skip


def form_for(device: str, minutes: float) -> Form:
    """The form for a device and a time."""
    return FULL if device == "cuda" else CPU if minutes >= 1.5 else SHORT
