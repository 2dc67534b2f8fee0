"""Three pushes: to main, to a branch, and one that breaks a test."""

from __future__ import annotations

from examples.stage import HERE, Stage

TOKEN = "tok-5f0c1a77e2"


def show(stage: Stage) -> None:
    stage.deploy(HERE / "ci" / "workflow.yaml")
    stage.worker("--commands", INDEGREE_SECRET_DEPLOY_TOKEN=TOKEN)
    start = stage.client.start
    main = start("ci", {"branch": "main"})
    branch = start("ci", {"branch": "feature/x"})
    broken = start("ci", {"branch": "main", "broken": "3.12"})

    stage.shows("main passes", stage.wait(main), "SUCCESS")
    passed = [f"python {python}: 12 passed" for python in ("3.11", "3.12", "3.13")]
    stage.shows("the matrix, in its order", main["test"].output, passed)
    stage.shows("what may fail has failed, and stops nothing", main["speed"].state, "FAILED")
    stage.shows("the build hands its facts on", main["build"].output, {"wheel": "app-main.whl", "size": 1234})
    stage.shows("the token is masked", main["publish"].output, "published app-main.whl with ***")

    stage.shows("a branch passes", stage.wait(branch), "SUCCESS")
    stage.shows("and is not published", (branch["publish"].state, branch["publish"].reason), ("SKIPPED", "condition"))

    stage.shows("a broken test fails the run", stage.wait(broken), "FAILED")
    states = {"tests": "FAILED", "build": "SKIPPED", "publish": "SKIPPED", "wheel": None, "branch": "main"}
    stage.shows("nothing is built, and somebody is told", broken["notify"].output, states)

    stage.shows("the wheel's name is on Kafka", "progress" in stage.topics_with("app-main.whl"), True)
    stage.shows("the token is on no topic of it", stage.topics_with(TOKEN), set())
