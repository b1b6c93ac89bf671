"""Which digests of the code are known to compute the same numbers: known.json, beside this file.

An identity is named by the digest that it began with. `harness numerics prove` enters a digest under the identity of
the code that it was proven equal to; `harness numerics bump` enters one as an identity of its own.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

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


Proofs = dict[str, Annotated[list[Proof], Field(min_length=1)]]
"""Identity -> its proofs, in the order in which they were entered."""


class Known(Declared):
    """The content of known.json, by scope."""

    data: Proofs
    train: Proofs
    eval: Proofs

    @model_validator(mode="after")
    def _check(self) -> Self:
        for scope in PROVEN:
            digests = [proof.digest for proofs in self.identities(scope).values() for proof in proofs]
            if twice := [one for one in digests if digests.count(one) > 1]:
                raise ValueError(f"{scope}: the digest {twice[0][:12]} is there twice; once is allowed")
        return self

    def identities(self, scope: str) -> Proofs:
        proofs: Proofs = getattr(self, scope)
        return proofs

    def identity(self, scope: str, code: str) -> str | None:
        """The identity of a digest, or None where it is not known."""
        proven = self.proof(scope, code)
        return proven and proven[0]

    def proof(self, scope: str, code: str) -> tuple[str, Proof] | None:
        """Identity and proof of a digest, or None where it is not known."""
        pairs = ((name, proof) for name, proofs in self.identities(scope).items() for proof in proofs)
        return next((pair for pair in pairs if pair[1].digest == code), None)

    def entered(self, scope: str, identity: str, proof: Proof) -> Self:
        """The same with one proof more. Raises `UserError` for a digest that is known already."""
        if known := self.identity(scope, proof.digest):
            raise UserError(f"{scope}: the digest {proof.digest[:12]} is known already, of identity {known[:12]}")
        identities = self.identities(scope)
        return self.model_copy(update={scope: identities | {identity: [*identities.get(identity, []), proof]}})


def read_known(root: Path = ROOT) -> Known:
    """Read known.json of the package below `root`. Raises `UserError` with one line when it is missing or broken."""
    return parse(Known, read_json(root / FILE), str(root / FILE))


def write_known(known: Known, root: Path = ROOT) -> None:
    """Write known.json, whole or not at all."""
    write_json(root / FILE, known.model_dump())


@cache
def identity(scope: str, root: Path = ROOT) -> str:
    """What the present code of a scope computes: the known identity of its digest, else the digest itself.

    So unknown code is a new identity, and what was computed before does not count as its own. Kept for the life of the
    process. Raises `UserError` for code or a known.json that cannot be read.
    """
    code = digest(scope, root)
    return read_known(root).identity(scope, code) or code


def unknown(root: Path = ROOT) -> list[str]:
    """The scopes whose present code is of no known identity. Raises `UserError` as `identity` does."""
    known = read_known(root)
    return [scope for scope in PROVEN if known.identity(scope, digest(scope, root)) is None]


@cache
def founding(scope: str, root: Path = ROOT) -> str:
    """The first identity of a scope: that of the first recorded runs."""
    return next(iter(read_known(root).identities(scope)))
