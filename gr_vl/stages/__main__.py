"""Run one stage in this process: `python -m gr_vl.stages runs/x/rl/config.yaml`. The command line and Ray jobs do this.

Exit codes: 0 done, 2 the caller's mistake (one line), 75 stopped by SIGTERM with a checkpoint, 1 a failure.
"""

import json
import os
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gr_vl import jobs, stages
from gr_vl.errors import GuardError, Preempted


def main(path: str) -> int:
    """Run the stage of a composed configuration file; its counts go to `counts.json` beside it."""
    config = DictConfig(OmegaConf.load(path))
    os.environ.update(jobs.environment(config.gr_vl.device))
    try:
        counts = stages.get(config.gr_vl.kind).run(config)
    except GuardError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except Preempted:
        sys.stderr.write("stopped as asked\n")
        return Preempted.code
    Path(path).with_name("counts.json").write_text(json.dumps(counts, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
