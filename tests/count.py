"""Adds up what the test runners of one suite counted: prints passed, failed, skipped."""

import re
import sys

text = re.sub(r"\x1b\[[0-9;]*m", "", open(sys.argv[1], encoding="utf-8", errors="replace").read())
passed = failed = skipped = 0
# cargo test
for ok, bad, left in re.findall(r"^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored", text, re.M):
    passed, failed, skipped = passed + int(ok), failed + int(bad), skipped + int(left)
# vitest
for line in re.findall(r"^\s*Tests\s+(.*)$", text, re.M):
    for number, word in re.findall(r"(\d+) (passed|failed|skipped)", line):
        passed += int(number) * (word == "passed")
        failed += int(number) * (word == "failed")
        skipped += int(number) * (word == "skipped")
# pytest
for line in re.findall(r"^(?:=+ )?(\d+ (?:passed|failed|error|skipped).* in [\d.]+s.*)$", text, re.M):
    for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", line):
        passed += int(number) * (word == "passed")
        failed += int(number) * (word in ("failed", "error", "errors"))
        skipped += int(number) * (word == "skipped")
print(passed, failed, skipped)
