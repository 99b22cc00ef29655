"""Linear discriminant analysis, its covariance shrunk as Ledoit and Wolf (2004) do: no penalty is chosen."""

from tessera.probes.fitted import LinearProbe, columns_of
from tessera.probes.kind import ProbeKind


class Lda(ProbeKind):
    """Classes weigh alike however many examples they have."""

    name = "lda"
    title = "LDA"
    kinds = ("hidden", "embeddings", "pixels")

    def fit(self, train_EK, label_E, names, candidate, columns_K, seed) -> LinearProbe:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        model = LinearDiscriminantAnalysis("lsqr", shrinkage="auto", priors=[1 / len(names)] * len(names))
        model.fit(columns_of(train_EK, columns_K).astype("float64"), label_E)
        return LinearProbe.of(names, model.coef_, model.intercept_, columns_K=columns_K)
