"""The parts of `benchmarks/gpu.py`.

`runner` (which loads no torch, so that nothing can hang it) runs the parts that `parts` lists, each in a process of its
own that talks through a `bench.Bench`; `report` writes what they found. `forms` has the sizes, `cases` builds methods
and batches, `heads` makes data, `steps` trains in another process. The parts themselves: `machine`, `heads`, `agree`,
`falls`, `repeat`, `layout`, `memory`, `together`; `training`, `inference`; `learning`.
"""
