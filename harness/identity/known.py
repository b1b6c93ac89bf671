"""Which digests of the code are known to compute the same numbers: known.json, beside this file.

An identity is named by the digest that it began with. `harness numerics prove` enters a digest under the identity of
the code that it was proven equal to; `harness numerics bump` enters one as an identity of its own.
"""

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from harness.errors import UserError
from harness.files import read_json, write_json
from harness.identity.code import PROVEN, ROOT, digest
from harness.settings.parse import parse
from harness.settings.schema import Declared

FILE = "harness/identity/known.json"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Machine(Declared):
    """What a proof was computed on, as in a run's provenance.json."""

    cpu: str
    instructions: str
    torch: str


class Proof(Declared):
    """That the code of a digest computes an identity's numbers.

    `commit`: HEAD when it was entered, whose code it is or was made from. `probes`: how many came out bitwise
    identical on `machine` to what the code of the digest `against` computes; 0 and nothing for the code that an
    identity began with. `when`: the day, as 2026-11-28.
    """

    digest: Digest
    commit: str | None = None
    machine: Machine | None = None
    probes: int = Field(0, ge=0)
    against: Digest | None = None
    when: str = ""


@dataclass(frozen=True)
class Known:
    """Scope -> identity -> its proofs, in the order in which they were entered."""

    scopes: dict[str, dict[str, list[Proof]]] = field(default_factory=lambda: {scope: {} for scope in PROVEN})

    def identity(self, scope: str, code: str) -> str | None:
        """The identity of a digest, or None where it is not known."""
        found = self.proof(scope, code)
        return found[0] if found else None

    def proof(self, scope: str, code: str) -> tuple[str, Proof] | None:
        """Identity and proof of a digest, or None where it is not known."""
        for identity, proofs in self.scopes[scope].items():
            for proof in proofs:
                if proof.digest == code:
                    return identity, proof
        return None

    def entered(self, scope: str, identity: str, proof: Proof) -> "Known":
        """The same with one proof more. Raises `UserError` for a digest that is known already."""
        if known := self.identity(scope, proof.digest):
            raise UserError(f"{scope}: the digest {proof.digest[:12]} is known already, of identity {known[:12]}")
        proofs = [*self.scopes[scope].get(identity, []), proof]
        return replace(self, scopes={**self.scopes, scope: {**self.scopes[scope], identity: proofs}})

    def as_json(self) -> dict[str, Any]:
        """The content of known.json."""
        return {
            scope: {identity: [proof.model_dump() for proof in proofs] for identity, proofs in identities.items()}
            for scope, identities in self.scopes.items()
        }


def read_known(root: Path = ROOT) -> Known:
    """Read known.json of the package below `root`. Raises `UserError` with one line when it is missing or broken."""
    path = root / FILE
    scopes: dict[str, dict[str, list[Proof]]] = {}
    for scope, identities in _mapping(read_json(path), f"{path}").items():
        if scope not in PROVEN:
            raise UserError(f"{path}: {scope}: no such scope; allowed: {', '.join(PROVEN)}")
        scopes[scope] = {}
        seen: set[str] = set()
        for identity, proofs in _mapping(identities, f"{path}: {scope}").items():
            where = f"{path}: {scope}: {identity[:12]}"
            if not isinstance(proofs, list) or not proofs:
                raise UserError(f"{where}: got {proofs!r:.40}; a list of proofs is allowed")
            scopes[scope][identity] = [parse(Proof, proof, f"{where}: {i}") for i, proof in enumerate(proofs, 1)]
            for proof in scopes[scope][identity]:
                if proof.digest in seen:
                    raise UserError(f"{where}: the digest {proof.digest[:12]} is there twice; once is allowed")
                seen.add(proof.digest)
    if missing := [scope for scope in PROVEN if scope not in scopes]:
        raise UserError(f"{path}: {missing[0]}: missing; git checkout restores the file")
    return Known(scopes)


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UserError(f"{where}: got {values!r:.40}; a mapping is allowed")
    return values


def write_known(known: Known, root: Path = ROOT) -> None:
    """Write known.json, whole or not at all."""
    write_json(root / FILE, known.as_json())


@cache
def identity(scope: str, root: Path = ROOT) -> str:
    """What the present code of a scope computes: the known identity of its digest, else the digest itself.

    So unknown code is a new identity, and what was computed before does not count as its own. Kept for the life of the
    process. Raises `UserError` for code or a known.json that cannot be read.
    """
    code = digest(scope, root)
    return read_known(root).identity(scope, code) or code
