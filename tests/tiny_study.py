"""A study of runs of a second, as the text of its file."""


def tiny_study(seeds: int, resources: str, metrics: str = "[swd]") -> str:
    """Two cells; `resources` and `metrics` in YAML."""
    return f"""\
study: tiny
recipe: dcgan
data: {{name: faces, size: 16}}
g_width: 4
d_width: 4
z_dim: 8
train: {{batch: 4, g_steps: 6, snapshots_g_steps: [6]}}
factors:
  g_norm: [bn, adain]
seeds: {seeds}
metrics: {metrics}
evaluate: {{fakes: 64}}
resources: {resources}
"""
