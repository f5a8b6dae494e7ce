"""Write every generated file, or with `--check` say which differ: `python -m contracts`."""

from __future__ import annotations

import sys

from contracts.generated import files


def main() -> int:
    check = "--check" in sys.argv[1:]
    texts = files()
    different = [path for path in texts if not path.exists() or path.read_text(encoding="utf-8") != texts[path]]
    for path in different:
        if check:
            print(f"{path} is not what the models say: run make contracts")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[path], encoding="utf-8")
            print(f"{path} written")
    return 1 if different and check else 0


if __name__ == "__main__":
    sys.exit(main())
