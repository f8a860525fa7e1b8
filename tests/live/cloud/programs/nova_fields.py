"""Print what Nova takes as properties of images, as JSON. To run in Nova's own environment.

The argument is JSON too: texts to try, by property. Those are printed that Nova refuses.
"""

import json
import sys

from nova.objects.image_meta import ImageMetaProps
from oslo_utils import strutils
from oslo_versionedobjects import fields

FIELDS = ImageMetaProps.fields


def names(*kinds: type) -> list[str]:
    """Return the properties that are of a kind."""
    return sorted(name for name, field in FIELDS.items() if isinstance(getattr(field, "AUTO_TYPE", None), kinds))


def takes(name: str, text: str) -> bool:
    """Return whether Nova would boot an image with this property, as far as it looks at properties alone."""
    try:
        ImageMetaProps.from_dict({name: text})
    except ValueError:
        return False
    return True


found = {
    "enumerations": {name: sorted(FIELDS[name].valid_values) for name in names(fields.Enum)},
    "booleans": names(fields.FlexibleBoolean),
    "boolean words": sorted({*strutils.TRUE_STRINGS, *strutils.FALSE_STRINGS}),
    "numbers": names(fields.Integer),
    "older names": ImageMetaProps._legacy_property_map,
    "refused": {
        name: [text for text in texts if not takes(name, text)] for name, texts in json.loads(sys.argv[1]).items()
    },
}
json.dump(found, sys.stdout)
