"""For a Python and SciPy newer than torch's wheels here: what needs no torch.

`bench.metrics` imports torch; its NumPy modules do not.  A bare package stands in for its `__init__`, so that the same
tests run on the same modules.  Collected only when named: `pytest tests/newer`.
"""

import importlib
import sys
import types
from pathlib import Path

import bench

package = types.ModuleType("bench.metrics")
package.__path__ = [str(Path(bench.__file__).parent / "metrics")]
sys.modules["bench.metrics"] = package
for name in ("failure", "frechet", "inception_score", "kid", "prdc"):
    module = importlib.import_module(f"bench.metrics.{name}")
    for exported, value in vars(module).items():
        if not exported.startswith("_"):
            setattr(package, exported, value)
