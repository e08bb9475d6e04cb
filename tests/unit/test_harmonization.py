"""Harmonization measured: identical cohorts cannot be told apart, shifted ones can, and the numbers are right."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from upfield.errors import ScanError, UpfieldError
from upfield.evaluate import harmonization
from upfield.evaluate.harmonization import classifier, cohort, features

SHAPE = (36, 40, 32)


def head(seed=0, gain=1.0, offset=0.0, noise=0.0, size=1.0, curve=1.0, scan=0):
    """An ellipsoid of three tissues in concentric shells, its mask and its tissues; noise also by `scan`."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt(sum(np.square(axis) for axis in axes)) / (0.85 * size)
    wobble = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 3)
    radius = radius + 0.08 * wobble / wobble.std()
    mask = radius < 1
    tissues = {"csf": mask & (radius > 0.9), "grey": mask & (radius <= 0.9) & (radius > 0.6), "white": radius <= 0.6}
    image = sum(level * tissue for level, tissue in zip((0.1, 0.5, 0.9), tissues.values(), strict=True))
    image = gain * ndimage.gaussian_filter(image.astype(float), 0.7) ** curve + offset
    image += noise * np.random.default_rng(seed + 1000 * (1 + scan)).normal(size=SHAPE)
    return np.where(mask, image, 0), mask, tissues


def scanned(person, scanner, method="identity", **settings):
    """Rows of the appearance of one head."""
    rows = harmonization.appearance(*head(**settings), (1.0, 1.0, 1.0))
    return rows.assign(participant_id=person, scanner=scanner, method=method)[harmonization.COLUMNS]


def drawn(seed, sizes=(8, 8), shift=0.0, features=5, blocks=3):
    """Cohorts of random features, in which the slabs of a person resemble each other."""
    random = np.random.default_rng(seed)
    persons = [random.normal(size=(n, 1, features)) + shift * side for side, n in enumerate(sizes)]
    slabs = [part + 0.5 * random.normal(size=(len(part), blocks, features)) for part in persons]
    people = tuple([f"sub-{side}{number}" for number in range(n)] for side, n in enumerate(sizes))
    return cohort.Cohorts(people, tuple(slabs), tuple(part[:, :, 0] for part in slabs))


def table(cohorts, method="identity", sides=("source", "target")):
    """Cohorts as rows of an appearance table."""
    rows = []
    for side, scanner in enumerate(("source", "target")):
        if scanner not in sides:
            continue
        for person, slabs, levels in zip(
            cohorts.people[side], cohorts.features[side], cohorts.intensities[side], strict=True
        ):
            rows += [(person, scanner, method, "brain", f"p{i}", value) for i, value in enumerate(levels)]
            rows += [
                (person, scanner, method, str(b), f"f{i}", v) for b, s in enumerate(slabs) for i, v in enumerate(s)
            ]
    return pd.DataFrame(rows, columns=harmonization.COLUMNS)


# -- one scan -------------------------------------------------------------------------------------------------------


def test_structure_of_a_scan_that_did_not_change_is_perfect_and_a_linear_change_costs_nothing():
    image, mask, _ = head(noise=0.02)
    for output in (image, 3 * image - 1):
        result = harmonization.structure(image, output, mask)
        assert result["ssim_source"] == pytest.approx(1, abs=1e-5)
        assert result["gradient_correlation"] == pytest.approx(1, abs=1e-9)
    assert "cycle_error" not in result


def test_structure_falls_with_blur_and_a_curve_costs_less_than_other_anatomy():
    image, mask, _ = head(noise=0.01)
    scores = [
        harmonization.structure(image, output, mask)
        for output in (image**1.2, ndimage.gaussian_filter(image, 2), head(seed=7, noise=0.01)[0])
    ]
    for name in ("ssim_source", "gradient_correlation"):
        curved, blurred, other = (score[name] for score in scores)
        assert curved > 0.9 and curved > blurred > other


def test_an_inverted_contrast_has_gradient_correlation_minus_one():
    image, mask, _ = head()
    assert harmonization.structure(image, -image, mask)["gradient_correlation"] == pytest.approx(-1)


def test_what_lies_outside_the_brain_has_no_influence_on_structure():
    image, mask, _ = head(noise=0.02)
    output = image + 0.05 * np.random.default_rng(3).normal(size=SHAPE)
    expected = harmonization.structure(image, output, mask, output)
    assert harmonization.structure(image, np.where(mask, output, 9), mask, np.where(mask, output, -9)) == expected


def test_cycle_error_is_the_mean_difference_by_the_robust_range():
    image, mask, _ = head(noise=0.02)
    low, high = np.percentile(image[mask], (0.5, 99.5))
    result = harmonization.structure(image, image, mask, image + 0.1 * (high - low))
    assert result["cycle_error"] == pytest.approx(0.1)
    assert harmonization.structure(image, image, mask, image)["cycle_error"] == 0


def test_broken_images_and_hollow_masks_are_refused():
    image, mask, _ = head()
    broken = image.copy()
    broken[mask] = np.nan
    with pytest.raises(ScanError, match="output has NaN"):
        harmonization.structure(image, broken, mask)
    thin = np.zeros_like(mask)
    thin[:, :, 5] = mask[:, :, 5]
    with pytest.raises(ScanError, match="no interior"):
        harmonization.structure(image, image, thin)
    with pytest.raises(ScanError, match="too small to be cut"):
        small = np.zeros_like(mask)
        small[10:16, 10:16, 10:16] = True
        harmonization.appearance(image, small, {"all": small}, (1, 1, 1))


def test_wasserstein_of_shifted_intensities_is_the_shift():
    image, mask, _ = head(noise=0.05)
    reference = np.quantile(image[mask], np.linspace(0, 1, 1001))
    assert harmonization.wasserstein(image, mask, reference) == pytest.approx(0)
    assert harmonization.wasserstein(image + 0.3, mask, reference) == pytest.approx(0.3)


def test_appearance_has_every_block_and_follows_gain_and_offset():
    plain = harmonization.appearance(*head(noise=0.02), (1, 1, 1)).set_index(["block", "feature"])["value"]
    changed = harmonization.appearance(*head(noise=0.02), (2, 2, 2)).set_index(["block", "feature"])["value"]
    assert list(plain.index.get_level_values("block").unique()) == ["brain", *"123456"]
    assert plain["brain"].is_monotonic_increasing and len(plain["brain"]) == 100
    assert plain[("3", "tissue1_mean")] < plain[("3", "tissue2_mean")] < plain[("3", "tissue3_mean")]
    assert changed[("3", "gradient_mean")] == pytest.approx(plain[("3", "gradient_mean")] / 2)
    image, mask, tissues = head(noise=0.02)
    lifted = harmonization.appearance(2 * image + 1, mask, tissues, (1, 1, 1)).set_index(["block", "feature"])["value"]
    assert lifted[("2", "q50")] == pytest.approx(2 * plain[("2", "q50")] + 1)
    assert lifted[("2", "skewness")] == pytest.approx(plain[("2", "skewness")])
    assert lifted[("2", "tissue2_sd")] == pytest.approx(2 * plain[("2", "tissue2_sd")])


def test_slabs_share_the_brain_equally():
    _, mask, _ = head()
    slab = np.broadcast_to(features.slabs(mask), mask.shape)
    share = np.bincount(slab[mask]) / mask.sum()
    assert len(share) == features.BLOCKS and np.all(np.abs(share - 1 / 6) < 0.05)


def test_the_size_of_a_brain_is_no_appearance():
    small, large = (scanned("sub-1", "source", seed=4, size=size).set_index(["block", "feature"]) for size in (0.85, 1))
    noisy = scanned("sub-1", "source", seed=4, noise=0.05).set_index(["block", "feature"])
    middle = [rows.loc["3", "value"].filter(like="tissue") for rows in (small, large, noisy)]
    by_size, by_scanner = (np.abs(other - middle[1]).max() for other in (middle[0], middle[2]))
    assert by_size < 0.02 < by_scanner + 0.02 and by_size < by_scanner


# -- cohorts --------------------------------------------------------------------------------------------------------


def test_auc_of_indistinguishable_cohorts_is_a_half_over_many_draws(monkeypatch):
    monkeypatch.setattr(cohort, "REPEATS", 3)
    aucs = np.array([cohort.scanner_auc(drawn(seed), 0).value for seed in range(40)])
    assert abs(aucs.mean() - 0.5) < 0.08


def test_auc_of_cohorts_far_apart_is_one_and_claims_no_interval():
    found = cohort.scanner_auc(drawn(0, shift=4.0), 0)
    assert found.value == 1.0 and np.isnan(found.interval()).all()


def test_auc_is_of_the_participants_not_of_their_slabs(monkeypatch):
    monkeypatch.setattr(cohort, "REPEATS", 4)
    found = cohort.scanner_auc(drawn(1, shift=0.8), 0)
    value, (low, high) = found.value, found.interval()
    # Copies of the same slabs are no new evidence.
    few = drawn(1, shift=0.8)
    copied = cohort.Cohorts(few.people, tuple(np.tile(f, (1, 4, 1)) for f in few.features), few.intensities)
    again = cohort.scanner_auc(copied, 0)
    assert again.value == pytest.approx(value, abs=0.1) and np.diff(again.interval()) > 0.5 * (high - low)
    assert low < value < high


@pytest.mark.parametrize(("sizes", "shift"), [((4, 9), 0.5), ((15, 15), 0.0), ((6, 6), 8.0)])
def test_the_classifier_is_that_of_scikit_learn(sizes, shift):
    made = drawn(3, sizes=sizes, shift=shift)
    known = np.concatenate(made.features).reshape(-1, made.features[0].shape[2]) * 7 + 3
    known = np.column_stack([known, np.full(len(known), 2.5)])
    label = np.repeat([0, 1], [part.shape[0] * part.shape[1] for part in made.features])
    logistic = LogisticRegression(C=classifier.RIDGE, class_weight="balanced", tol=1e-10, max_iter=10_000)
    theirs = make_pipeline(StandardScaler(), logistic).fit(known, label)
    score = classifier.fit(known, label)
    others = np.random.default_rng(0).normal(size=(20, known.shape[1]))
    np.testing.assert_allclose(score(others), theirs.decision_function(others), rtol=1e-5, atol=1e-5)


def test_the_classifier_refuses_what_is_no_number():
    with pytest.raises(ValueError, match="finite"):
        classifier.fit(np.array([[1.0], [np.nan]]), np.array([0, 1]))


def test_scans_of_a_person_seen_by_both_scanners_stay_in_one_fold(monkeypatch):
    # Each person has a fingerprint, far larger than the scanner's effect. If one scan of a person were in training
    # and the other left out, the classifier would call the latter by the former's scanner, always wrongly.
    monkeypatch.setattr(cohort, "REPEATS", 5)
    random = np.random.default_rng(0)
    prints = 10 * np.eye(8)[:, None, :] * np.ones((1, 3, 1))
    people = [f"sub-{number}" for number in range(8)]
    features = tuple(prints + side + 0.1 * random.normal(size=prints.shape) for side in (0, 1))
    apart = cohort.Cohorts((people, people), features, features)
    assert cohort.scanner_auc(apart, 0).value == 1.0


def test_too_few_scans_give_no_auc_and_no_mmd():
    rows = cohort.cohort_table(table(drawn(0, sizes=(1, 3))), 0).set_index("metric")
    assert rows.loc[["scanner_auc", "mmd"], "value"].isna().all()
    assert np.isfinite(rows.loc["wasserstein", "value"]) and np.isnan(rows.loc["wasserstein", "ci_low"])
    assert rows[["n_source", "n_target"]].to_numpy().tolist() == [[1, 3]] * 3


def test_pairs_are_compared_as_in_an_roc_curve(monkeypatch):
    # With one feature the order of the scores is that of the feature, whichever way the classifiers point.
    monkeypatch.setattr(cohort, "REPEATS", 25)
    cohorts = drawn(5, sizes=(10, 10), shift=2.0, features=1, blocks=1)
    feature = np.concatenate(cohorts.features).ravel()
    assert cohort.scanner_auc(cohorts, 0).value == pytest.approx(roc_auc_score([0] * 10 + [1] * 10, feature), abs=0.02)


def test_mmd_is_about_nothing_for_one_distribution_and_large_for_two():
    people = tuple([f"{side}{i}" for i in range(30)] for side in "ab")
    random = np.random.default_rng(0)
    same = [cohort.mmd2(*random.normal(size=(2, 30, 4)), 2.0, people).value for _ in range(20)]
    assert abs(np.mean(same)) < 0.01 and min(same) < 0
    found = cohort.mmd2(random.normal(size=(30, 4)), random.normal(size=(30, 4)) + 3, 2.0, people)
    low, high = found.interval()
    assert low < found.value < high and low > 0.5


def test_mmd_by_hand():
    # Two points each on a line: within distances 1 and 1, across 3, 4, 2, 3; kernel exp(-d^2 / 2).
    value = cohort.mmd2(np.array([[0.0], [1.0]]), np.array([[3.0], [4.0]]), 1.0, (["a", "b"], ["c", "d"])).value
    e = np.exp
    assert value == pytest.approx(2 * e(-0.5) - 2 * (e(-4.5) + e(-8) + e(-2) + e(-4.5)) / 4)


def test_wasserstein_of_shifted_cohorts_is_the_shift_with_every_person_of_equal_weight():
    people = (["a", "b"], ["c", "d"])
    levels = np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    cohorts = cohort.Cohorts(people, (levels[..., None],) * 2, (levels, levels + 0.7))
    assert cohort.intensity_distance(cohorts).value == pytest.approx(0.7)
    cohorts = cohort.Cohorts((["a", "b"], ["c"]), cohorts.features, (np.array([[0.0] * 3, [1.0] * 3]), levels[:1] * 0))
    assert cohort.intensity_distance(cohorts).value == pytest.approx(0.5)


def test_harmonized_heads_come_closer_to_the_target_scanner_by_every_number(monkeypatch):
    monkeypatch.setattr(cohort, "PERMUTATIONS", 39)
    rows = []
    for number in range(5):
        rows += [
            scanned(f"sub-a{number}", "source", seed=number, gain=0.8, noise=0.04),
            scanned(f"sub-a{number}", "source", "cyclegan", seed=number, noise=0.021),
            scanned(f"sub-b{number}", "target", seed=50 + number, noise=0.02),
        ]
    result = harmonization.cohort_table(pd.concat(rows), 0)
    assert list(result.columns) == cohort.COLUMNS
    assert list(result["method"].unique()) == ["identity", "cyclegan"]
    values = result.pivot(index="metric", columns="method", values="value")
    assert values.loc["scanner_auc", "identity"] == 1.0
    assert (values["cyclegan"] < values["identity"]).all() and values.loc["wasserstein", "identity"] > 0.05
    assert result[["n_source", "n_target"]].eq(5).all(axis=None)
    told = result.set_index(["metric", "method"])
    assert (told.xs("identity", level="method")["p_permutation"] <= 0.05).all()
    moved = told.loc[("wasserstein", "cyclegan")]
    assert moved.change == pytest.approx(moved.value - told.value["wasserstein", "identity"])
    assert moved.change_low < moved.change < moved.change_high < 0 and moved.decision == "better"
    assert told.xs("identity", level="method")[["change", "decision"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(result, harmonization.cohort_table(pd.concat(rows[::-1]), 0))


def test_a_permuted_cohort_is_as_far_apart_as_it_was_and_p_says_so():
    """p over many studies without a difference is uniform: below 0.05 in about one of twenty."""
    p = [cohort.permutation_p(drawn(seed, sizes=(6, 6)), cohort.intensity_distance, 0) for seed in range(40)]
    assert 0.3 < np.mean(p) < 0.7 and np.mean(np.array(p) <= 0.05) < 0.15
    assert cohort.permutation_p(drawn(0, shift=4.0), cohort.intensity_distance, 0) == 1 / (1 + cohort.PERMUTATIONS)


def test_the_change_of_travelling_subjects_is_theirs(monkeypatch):
    # Nothing but the scanner differs, and harmonization takes half of it away: every participant says so.
    people = ([f"sub-{n}" for n in range(6)],) * 2
    levels = np.random.default_rng(0).normal(size=(6, 1)) + np.linspace(0, 1, 20)
    before, after = (
        cohort.intensity_distance(cohort.Cohorts(people, (levels[..., None],) * 2, (levels + off, levels)))
        for off in (8.0, 4.0)
    )
    assert cohort.strata(people) == [sorted(people[0])]
    assert after.minus(before).value == pytest.approx(-4)
    assert np.isnan(after.minus(before).interval()).all()  # it is 4 whoever is left out
    few = cohort.intensity_distance(cohort.Cohorts((people[0][:4],) * 2, (levels[:4, :, None],) * 2, (levels[:4],) * 2))
    assert np.isnan(few.interval()).all()


# -- ComBat ---------------------------------------------------------------------------------------------------------


def combat_cohorts(seed, sizes, scale=3.0, shift=5.0):
    """Cohorts whose target scanner multiplies by `scale` and adds `shift`."""
    cohorts = drawn(seed, sizes)
    features = cohorts.features[0], scale * cohorts.features[1] + shift
    return cohort.Cohorts(cohorts.people, features, cohorts.intensities)


def test_combat_learned_on_others_removes_the_scanner_from_features(monkeypatch):
    monkeypatch.setattr(cohort, "REPEATS", 5)
    monkeypatch.setattr(cohort, "PERMUTATIONS", 9)
    training, test = (table(combat_cohorts(seed, (20, 20))) for seed in (1, 2))
    adjusted = harmonization.combat(training, test)
    assert list(adjusted.columns) == harmonization.COLUMNS and set(adjusted["method"]) == {"combat"}
    assert not (adjusted["block"] == "brain").any()
    spread = adjusted.groupby("scanner")["value"].agg(["mean", "std"])
    assert abs(spread.loc["target", "mean"] - spread.loc["source", "mean"]) < 0.6
    assert spread.loc["target", "std"] / spread.loc["source", "std"] == pytest.approx(1, abs=0.2)
    values = harmonization.cohort_table(pd.concat([test, adjusted]), 0).set_index(["method", "metric"])["value"]
    assert values["identity", "scanner_auc"] == 1.0 and values["combat", "scanner_auc"] < 0.75
    assert values["combat", "mmd"] < values["identity", "mmd"] / 5 and np.isnan(values["combat", "wasserstein"])


def test_combat_of_a_test_scan_does_not_depend_on_the_other_test_scans():
    training, test = table(combat_cohorts(1, (6, 6))), table(combat_cohorts(2, (3, 3)))
    alone = harmonization.combat(training, test[test["participant_id"] == "sub-01"])
    together = harmonization.combat(training, test)
    pd.testing.assert_frame_equal(alone, together[together["participant_id"] == "sub-01"].reset_index(drop=True))


def test_combat_of_its_own_training_scans_is_what_the_library_returns():
    from neuroCombat import neuroCombat

    training = table(combat_cohorts(3, (6, 5)))
    mine = harmonization.combat(training, training)
    wide = training[training["block"] != "brain"].pivot(
        index=["participant_id", "scanner"], columns=["block", "feature"], values="value"
    )
    theirs = neuroCombat(wide.to_numpy().T, wide.index.to_frame(index=False), "scanner")["data"].T
    back = mine.pivot(index=["participant_id", "scanner"], columns=["block", "feature"], values="value")
    np.testing.assert_allclose(back.to_numpy(), theirs, rtol=1e-9, atol=1e-9)


def test_combat_needs_two_scans_of_each_scanner():
    with pytest.raises(UpfieldError, match="found 1 of the source and 4 of the target scans"):
        harmonization.combat(table(drawn(0, sizes=(1, 4))), table(drawn(1)))
