"""What a validation rule is: it looks at an object, or at an object and its predecessor, and yields what is wrong."""

from collections.abc import Callable, Iterator, Mapping

from local.kubernetes.model.objects import Object
from local.kubernetes.model.status_errors import Cause

type Causes = Iterator[Cause]
type Rules = Mapping[str, Callable[[Object], Causes]]
type ChangeRules = Mapping[str, Callable[[Object, Object], Causes]]

IMMUTABLE = "field is immutable"
