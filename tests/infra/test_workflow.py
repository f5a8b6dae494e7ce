"""The workflow that compiles the Bicep, and what can sign in to Azure."""

from __future__ import annotations

import re

from tests.infra.bicep import INFRA, PROJECT, files

WORKFLOW = (PROJECT / ".github" / "workflows" / "infra.yml").read_text()


def jobs(text: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", text.partition("\njobs:\n")[2] + "\n", re.MULTILINE))


def test_compiler_reads_every_file_that_no_module_call_reaches() -> None:
    texts = files()
    called = {
        f"{name.rpartition('/')[0]}/{path}".lstrip("/")
        for name, text in texts.items()
        for path in re.findall(r"^module \w+ '([\w/.-]+)'", text, re.MULTILINE)
    }
    compiled = set(re.findall(r"(?<=[ ])(\S+\.bicep)", jobs(WORKFLOW)["bicep"]))
    assert {f"infra/{name}" for name in texts if name not in called} <= compiled
    assert all((PROJECT / path).is_file() for path in compiled)


def test_only_the_preview_can_sign_in_and_no_pull_request_runs_it() -> None:
    signed_in = [name for name, text in jobs(WORKFLOW).items() if "id-token: write" in text or "azure/login" in text]
    assert signed_in == ["preview"]
    assert "if: github.event_name != 'pull_request' && vars.AZURE_CLIENT_ID != ''" in jobs(WORKFLOW)["preview"]
    assert "secrets." not in WORKFLOW
    assert not re.search(r"azd (up|deploy|down|provision(?! --preview))", WORKFLOW)


def test_variables_of_the_deploying_workflow_are_parameters_or_azd_s_own() -> None:
    text = (PROJECT / ".github" / "workflows" / "azure-dev.yml").read_text()
    given = set(re.findall(r"^      (\w+): \$\{\{ vars\.", text, re.MULTILINE))
    known = set(re.findall(r"\$\{(\w+)", (INFRA / "main.parameters.json").read_text()))
    assert given - known == {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"}
