"""Whether reasoning treats every task: sections under `# Task 1` to `# Task n`, in order, each with something in it."""

import re


def sectioned(reasoning: str, tasks: int) -> bool:
    """Whether there is such a section for each of so many tasks.

    >>> sectioned("# Task 1\\na\\n# Task 2\\nb", 2), sectioned("# Task 1\\n# Task 2\\nb", 2)
    (True, False)
    """
    end, starts = 0, []
    for number in range(1, tasks + 1):
        found = re.compile(rf"^# Task {number}\b", re.MULTILINE).search(reasoning, end)
        if found is None:
            return False
        starts.append(found.start())
        end = found.end()
    ends = [*starts[1:], len(reasoning)]
    return all(_says_something(reasoning[start:stop]) for start, stop in zip(starts, ends, strict=True))


def _says_something(section: str) -> bool:
    """Whether a line after the heading is neither blank nor a heading itself."""
    _, _, body = section.partition("\n")
    return any(line.strip() and not line.startswith("#") for line in body.split("\n"))
