"""What is measured: quantiles within a bucket's width, and several engines' figures as one."""

from __future__ import annotations

import random

import pytest

from accord.observe.metrics import BOUNDS_S, OTHER, STEPS_MAX, Histogram, Metrics, added_up


def test_a_quantile_is_within_a_bucket_of_the_true_one():
    times = [random.Random(7).lognormvariate(-4, 1.5) for _ in range(5_000)]
    histogram = Histogram()
    for one in times:
        histogram.observe(one)
    view = histogram.view()
    assert view.count == len(times)
    assert view.sum_s == pytest.approx(sum(times))
    for share in (0.5, 0.95, 0.99):
        true = sorted(times)[int(share * len(times)) - 1]
        assert view.quantile(share) == pytest.approx(true, rel=0.42)


def test_what_is_longer_than_all_bounds_is_counted_too():
    histogram = Histogram()
    histogram.observe(BOUNDS_S[-1] * 10)
    assert histogram.view().buckets == {len(BOUNDS_S): 1}
    assert histogram.view().quantile(0.5) == BOUNDS_S[-1]
    assert Histogram().view().quantile(0.5) is None


def test_items_of_a_split_are_one_step_and_steps_are_bounded():
    flow = Metrics().flow("orders")
    flow.step("split[0]/call").observe(0.1)
    flow.step("split[1]/call").observe(0.1)
    assert {path: step.count for path, step in flow.view().steps.items()} == {"split[]/call": 2}
    for number in range(STEPS_MAX * 2):
        flow.step(f"step-{number}").observe(0.1)
    steps = flow.view().steps
    assert len(steps) == STEPS_MAX + 1
    assert steps[OTHER].count == STEPS_MAX + 1


def test_several_engines_are_added_up():
    engines = [Metrics(), Metrics()]
    for number, metrics in enumerate(engines, 1):
        metrics.flow("orders").accepted += number
        metrics.flow("orders").attempts["done"] += number
        metrics.flow("orders").step("write").observe(0.01 * number)
        metrics.system("shop").requests["done"] += number
        metrics.refused["shop", 429] += number
        metrics.commits.operations += number
        metrics.commits.duration.observe(0.001)
    engines[1].flow("only-here").accepted += 1
    whole = added_up([metrics.view() for metrics in engines])
    assert whole.flows["orders"].accepted == 3
    assert whole.flows["orders"].attempts == {"done": 3}
    assert whole.flows["orders"].steps["write"].count == 2
    assert whole.flows["orders"].steps["write"].sum_s == pytest.approx(0.03)
    assert whole.flows["only-here"].accepted == 1
    assert whole.systems["shop"].requests == {"done": 3}
    assert whole.refused == {"shop": {"429": 3}}
    assert (whole.operations, whole.commit.count) == (3, 2)
