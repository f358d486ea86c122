def test(tiny_run):
    import json
    print(json.dumps(tiny_run.summary["seconds"]), tiny_run.summary["verdict"], tiny_run.summary["search"], tiny_run.summary["notes"])
    print((tiny_run.folder/"seconds.json").read_text())
