"""What callers may name: a deployment, or one of its adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fastness.core.deployment import Adapter, Deployment, named

if TYPE_CHECKING:
    from fastness.core.model import ModelCard
    from fastness.core.tenant import Principal
    from fastness.gateway.served import Served
    from fastness.gateway.served_model import ServedModel


class ListedModel(NamedTuple):
    """A deployment with the name of an adapter; "": the model alone."""

    served: Served
    adapter: str = ""

    @property
    def name(self) -> str:
        """What callers send as `model`."""
        return named(self.served.name, self.adapter)

    @property
    def card(self) -> ModelCard:
        """The card of the model that is wanted."""
        return self.served.wanted.card

    @property
    def models(self) -> list[ServedModel]:
        """The models that can answer under this name, the one that is wanted first; none when it is gone."""
        wanted = self.served.wanted
        return sorted(self.served.with_adapter(self.adapter), key=lambda one: one is not wanted)

    @property
    def face(self) -> Deployment:
        """What policy is asked about; raises IndexError when it is gone."""
        face = self.served.wanted.faces.get(self.adapter)
        return self.models[0].faces[self.adapter] if face is None else face

    @property
    def loaded(self) -> Adapter | None:
        """The adapter that answers; None: the model alone."""
        return self.face.adapters[0] if self.adapter else None


def may_name(principal: Principal, listed: ListedModel) -> bool:
    """Tell whether a caller may know of it: key and tenant may name the deployment, and it is for its tenant."""
    tenants = listed.face.tenants
    return principal.may_use(listed.served.name) and (tenants is None or principal.tenant in tenants)
