"""What is asked about a deployment with adapters: it with one of them, or with none."""

from fastness.core.deployment import Adapter, Deployment, named, parted
from fastness.core.marking import Label

OFFICIAL = Label("OFFICIAL")
PLANS = Adapter("plans", "01" * 32, "ab" * 32, OFFICIAL)
HEALTH = Adapter("health", "02" * 32, "ab" * 32, OFFICIAL, ("health", "tax"))


def chat(*adapters: Adapter, tenants: tuple[str, ...] | None = None) -> Deployment:
    return Deployment("chat", "small", OFFICIAL, OFFICIAL, adapters, tenants, "ab" * 32)


def test_a_deployment_without_adapters_has_one_face_which_is_itself() -> None:
    one = chat()
    assert one.faces() == {"": one} and one.faces()[""] is one


def test_each_adapter_is_a_face_and_the_model_alone_is_one() -> None:
    faces = chat(PLANS, HEALTH).faces()
    assert [(name, [each.name for each in face.adapters]) for name, face in faces.items()] == [
        ("", []),
        ("plans", ["plans"]),
        ("health", ["health"]),
    ]
    assert {face.name for face in faces.values()} == {"chat"}, "a rule on the deployment holds whatever is named"


def test_an_adapter_is_for_those_whom_both_it_and_its_deployment_are_for() -> None:
    assert chat(HEALTH).faces()["health"].tenants == ("health", "tax")
    both = chat(PLANS, HEALTH, tenants=("health", "defence")).faces()
    assert (both["health"].tenants, both["plans"].tenants) == (("health",), ("health", "defence"))
    assert chat(HEALTH, tenants=("defence",)).faces()["health"].tenants == (), "nobody, and not anybody"


def test_a_name_means_one_thing() -> None:
    assert (named("chat"), named("chat", "plans")) == ("chat", "chat:plans")
    assert (parted("chat"), parted("chat:plans"), parted("a:b:c")) == (("chat", ""), ("chat", "plans"), ("a", "b:c"))
