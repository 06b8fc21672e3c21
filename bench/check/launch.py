"""``python -m bench.check.launch KEY [SOCKET]``: prints how the source on the path starts its scripted worker."""

from __future__ import annotations

import json
import sys

from modelhost.engines import ENGINES
from modelhost.engines.base import ModelSpec

if __name__ == "__main__":
    launch = ENGINES["scripted"].launch(ModelSpec(name="scripted"), sys.argv[1])
    config = {**launch.config, **({"socket_path": sys.argv[2]} if len(sys.argv) > 2 else {})}
    sys.stdout.write(json.dumps({"argv": list(launch.argv), "env": dict(launch.env), "config": config}))
