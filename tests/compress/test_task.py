from compress.quality import Difference, Score
from compress.task import Evaluation


def test_the_first_metric_is_the_primary():
    kid, fid = (Score(metric, "cnn", 100, (0,), 1.0, 0.1) for metric in ("kid", "fid"))
    near, far = Difference(0.1, (0, 0.2)), Difference(5.0, (4, 6))
    found = Evaluation({"kid": kid, "fid": fid}, {"before": {"fid": far, "kid": near}})
    assert found.primary is kid
    assert found.primary_difference("before") is near
