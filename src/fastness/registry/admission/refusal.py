"""The rules of admission beyond inspection's: one closed table, and the refusal that names one."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

RULES: Final = MappingProxyType(
    {
        "admission.space": "There is room for a copy.",
        "admission.revoked": "What was revoked does not come back under the same digest.",
        "admission.changed": "What is admitted and loaded are the bytes that were inspected.",
        "admission.convert": "A BERT in safetensors that is to be served can be converted.",
        "admission.signature": "A signature that is given, or is by somebody trusted, fits the files.",
        "admission.signer": "Above registry.signature_above, somebody trusted has signed.",
        "bundle.form": "A bundle is a manifest, a signature and the files that they name, and nothing else.",
        "bundle.signature": "Somebody trusted has signed the bundle.",
        "bundle.rollback": "A bundle is newer than the last one of its line that was taken over.",
        "bundle.freeze": "A bundle is neither expired, nor older than registry.bundle_age_s_max, nor from the future.",
        "bundle.mixed": "The files of a bundle are those of its own manifest.",
    }
)


class AdmissionRefused(Exception):  # noqa: N818 - an outcome of the product
    """What breaks a rule of admission; `rule` is an id of `RULES`. Raises KeyError for a rule outside the table."""

    def __init__(self, rule: str, message: str) -> None:
        assert RULES[rule]
        super().__init__(f"{message} (rule {rule})")
        self.rule = rule
        self.message = message
