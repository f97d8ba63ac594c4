"""A harness for normalization ablations of GANs: one YAML file in, a report out."""

__version__ = "0.1.0"
