"""A space that leaves features as they are."""

from tessera.features.spaces import Space


class AsIs(Space):
    def apply(self, features):
        return features
