"""One sentence about a run, made from its numbers; harm is said in plain words."""

from app.lab.verdict import judge_run, progress_sentence


def evaluation(step, held, train, raw=None):
    backbone = None if raw is None else {"map_at_r": raw}
    return {"step": step, "held_out": {"map_at_r": held}, "train": {"map_at_r": train}, "backbone": backbone}


def said(*evaluations, **options):
    return judge_run(evaluations, **{"frozen": False, "unseen_classes": True} | options)


def test_what_was_learnt_and_carries_over():
    found = said(evaluation(0, 0.22, 0.26, 0.25), evaluation(200, 0.60, 0.75))
    assert (
        found.sentence == "Unseen classes: MAP@R .22 → .60. Training classes: .26 → .75. What was learnt carries over."
    )
    assert found.harm == ""


def test_a_wide_gap_suggests_over_fitting():
    found = said(evaluation(0, 0.39, 0.41, 0.39), evaluation(200, 0.45, 0.93))
    assert "over-fitting" in found.sentence


def test_harm_to_unseen_classes_is_said_against_the_backbone_alone():
    found = said(evaluation(0, 0.30, 0.31, 0.54), evaluation(40, 0.41, 0.9))
    assert "worse than with the backbone's own features" in found.harm
    assert "MAP@R .54 before training, .41 now" in found.harm
    assert "Freeze the backbone" in found.harm


def test_a_frozen_backbone_is_given_other_advice():
    found = said(evaluation(0, 0.30, 0.31, 0.54), evaluation(40, 0.41, 0.9), frozen=True)
    assert "Freeze" not in found.harm
    assert "larger embedding" in found.harm


def test_more_steps_are_advised_only_where_they_still_helped():
    first = evaluation(0, 0.30, 0.31, 0.54)
    rising = said(first, evaluation(20, 0.36, 0.5), evaluation(40, 0.41, 0.6), frozen=True)
    level = said(first, evaluation(20, 0.41, 0.5), evaluation(40, 0.41, 0.6), frozen=True)
    falling = said(evaluation(0, 0.5, 0.5, 0.54), evaluation(20, 0.45, 0.6), evaluation(40, 0.41, 0.6), frozen=True)
    past_peak = said(first, evaluation(20, 0.47, 0.5), evaluation(40, 0.41, 0.6), frozen=True)
    assert "more steps: it was still rising" in rising.harm
    assert "more steps" not in level.harm + falling.harm + past_peak.harm
    assert "fewer steps" in falling.harm
    assert "At step 20 it was .47: take fewer steps" in past_peak.harm


def test_steps_that_taught_nothing_are_the_advice_where_there_were_many():
    found = said(evaluation(0, 0.30, 0.31, 0.54), evaluation(40, 0.31, 0.31), frozen=True, idle=True)
    assert found.harm.endswith(".31 now.")
    assert "taught nothing" in found.sentence


def test_what_was_learnt_of_the_training_classes_alone_asks_for_no_more_steps():
    found = said(evaluation(0, 0.5, 0.5), evaluation(40, 0.505, 0.6))
    assert "does not carry over" in found.sentence
    assert "more steps" not in found.sentence


def test_worse_than_the_start_is_said_where_the_start_was_better_than_the_backbone():
    assert "worse than with the untrained embedding" in said(evaluation(0, 0.6, 0.6, 0.5), evaluation(9, 0.4, 0.9)).harm


def test_no_change_is_called_no_change():
    assert "nearly all was found already" in said(evaluation(0, 0.97, 0.98), evaluation(9, 0.97, 1.0)).sentence
    assert "MAP@R has hardly changed" in said(evaluation(0, 0.5, 0.5, 0.4), evaluation(9, 0.505, 0.51)).sentence


def test_there_is_no_verdict_without_two_evaluations_or_without_a_number():
    assert said(evaluation(0, 0.5, 0.5), evaluation(0, 0.5, 0.5)) is None
    assert said(evaluation(0, None, 0.5), evaluation(9, 0.5, 0.5)) is None


def test_unseen_images_are_called_so():
    found = said(evaluation(0, 0.2, 0.2), evaluation(9, 0.6, 0.7), unseen_classes=False)
    assert found.sentence.startswith("Unseen images")


def test_a_run_that_goes_on_says_how_far_it_has_come():
    first, later = evaluation(0, 0.22, 0.26), evaluation(40, 0.31, 0.4)
    assert progress_sentence([]) == "How well held-out images are found is not measured yet."
    assert progress_sentence([first]) == "MAP@R of held-out images before training: .22."
    assert progress_sentence([first, later]) == "So far: MAP@R of held-out images .22 → .31."
