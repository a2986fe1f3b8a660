"""Reloading: new contents are judged once they have settled, and told once."""

import os
from pathlib import Path

import pytest

from forecaster.config.file import parse
from jobs.service.config_reload import (
    Refused,
    Reload,
    Reloader,
    Staged,
    Unchanged,
    stage,
)

BIKES = '[datasets.bikes]\nstep = "1h"\nhorizon = "{horizon}"\n'
TOP = 'database_url = "sqlite:///f.db"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "forecaster.toml"
    path.write_text(text)
    return path


def reloader(path: Path, **environ: str) -> Reloader:
    in_force = parse(path.read_text(), environ, read_file=lambda name: Path(name).read_text())
    watcher = Reloader(path, in_force, environ=environ)
    assert looks(watcher, 3) == [Unchanged()] * 3
    return watcher


def looks(watcher: Reloader, times: int = 2) -> list[Reload]:
    return [watcher.poll() for _ in range(times)]


def test_other_settings_are_staged_once_they_stand_still(tmp_path: Path) -> None:
    watcher = reloader(write(tmp_path, TOP + BIKES.format(horizon="1d")))
    write(tmp_path, TOP + BIKES.format(horizon="2d"))

    first, second, third = looks(watcher, 3)

    assert isinstance(second, Staged)
    assert second.config.datasets["bikes"].prediction_length == 48
    assert second.notes == ()
    assert (first, third) == (Unchanged(), Unchanged())


def test_a_file_that_is_being_written_is_not_judged(tmp_path: Path) -> None:
    text = TOP + BIKES.format(horizon="2d")
    watcher = reloader(write(tmp_path, TOP + BIKES.format(horizon="1d")))

    seen = []
    for length in range(0, len(text), 9):
        write(tmp_path, text[:length])
        seen.append(watcher.poll())

    assert seen == [Unchanged()] * len(seen)


@pytest.mark.fault(18)
@pytest.mark.parametrize("text", ["", "nonsense", TOP + BIKES.format(horizon="-3h"), "\udcff"])
def test_a_bad_file_is_refused_once_and_a_good_one_after_it_is_taken(
    tmp_path: Path, text: str
) -> None:
    path = write(tmp_path, TOP + BIKES.format(horizon="1d"))
    watcher = reloader(path)

    path.write_bytes(text.encode(errors="surrogateescape"))
    refused = looks(watcher, 4)
    write(tmp_path, TOP + BIKES.format(horizon="3d"))
    taken = looks(watcher)

    assert isinstance(refused[1], Refused)
    assert refused[2:] == [Unchanged()] * 2
    assert isinstance(taken[1], Staged)


def test_a_missing_file_is_refused_and_its_return_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, TOP)
    watcher = reloader(path)

    path.rename(tmp_path / "elsewhere")
    [_, refused] = looks(watcher)
    (tmp_path / "elsewhere").rename(path)

    assert isinstance(refused, Refused)
    assert "No such file" in refused.reason
    assert looks(watcher) == [Unchanged()] * 2


def test_a_comment_is_no_change(tmp_path: Path) -> None:
    watcher = reloader(write(tmp_path, TOP))
    write(tmp_path, "# a comment\n" + TOP)

    assert looks(watcher, 3) == [Unchanged()] * 3


def test_links_that_are_swapped_as_by_kubernetes_are_noticed(tmp_path: Path) -> None:
    for name, horizon in (("one", "1d"), ("two", "2d")):
        (tmp_path / name).mkdir()
        write(tmp_path / name, TOP + BIKES.format(horizon=horizon))
        os.utime(tmp_path / name / "forecaster.toml", (0, 0))
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "forecaster.toml").symlink_to("data/forecaster.toml")
    watcher = reloader(tmp_path / "forecaster.toml")

    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "data")

    assert isinstance(looks(watcher)[1], Staged)


@pytest.mark.fault(20)
def test_a_secret_in_a_file_of_its_own_is_watched_and_never_told(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://me:hunter2@warehouse/db")
    text = TOP + BIKES.format(horizon="1d") + f'query = "SELECT 1"\nsource_url_file = "{secret}"\n'
    watcher = reloader(write(tmp_path, text))

    secret.write_text("postgresql://me:hunter3@warehouse/db")
    [_, staged] = looks(watcher)
    secret.write_text("postgrezql:/me:hunter4@warehouse/db")
    [_, refused] = looks(watcher)
    secret.unlink()
    [_, missing] = looks(watcher)

    assert isinstance(staged, Staged)
    assert "hunter3" in (staged.config.datasets["bikes"].source_url or "")
    assert isinstance(refused, Refused)
    assert isinstance(missing, Refused)
    assert "hunter" not in refused.reason + missing.reason


def test_what_is_opened_once_waits_for_a_restart_and_the_rest_does_not(tmp_path: Path) -> None:
    watcher = reloader(write(tmp_path, TOP + BIKES.format(horizon="1d")))
    other = 'database_url = "sqlite:///g.db"\nserver.listen = "127.0.0.1:9"\n'
    write(tmp_path, other + BIKES.format(horizon="2d"))

    [_, staged] = looks(watcher)

    assert isinstance(staged, Staged)
    assert staged.config.database_url == "sqlite:///f.db"
    assert staged.config.server.port != 9
    assert staged.config.datasets["bikes"].prediction_length == 48
    assert [note.split()[0] for note in staged.notes] == ["database_url", "server"]


def test_what_could_not_be_put_in_force_is_not_offered_again_but_another_file_is(
    tmp_path: Path,
) -> None:
    watcher = reloader(write(tmp_path, TOP + BIKES.format(horizon="1d")))
    write(tmp_path, TOP + BIKES.format(horizon="2d"))
    [_, failed] = looks(watcher)

    again = looks(watcher)
    write(tmp_path, TOP + BIKES.format(horizon="1d"))
    back = looks(watcher)

    assert isinstance(failed, Staged)
    assert again == back == [Unchanged()] * 2


def test_what_was_accepted_is_the_measure_of_the_next_look(tmp_path: Path) -> None:
    watcher = reloader(write(tmp_path, TOP + BIKES.format(horizon="1d")))
    write(tmp_path, TOP + BIKES.format(horizon="2d"))
    [_, staged] = looks(watcher)
    assert isinstance(staged, Staged)

    watcher.accept(staged)
    write(tmp_path, TOP + BIKES.format(horizon="1d"))

    assert isinstance(looks(watcher)[1], Staged)


def test_a_plug_in_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    watcher = reloader(write(tmp_path, TOP + BIKES.format(horizon="1d")))
    write(tmp_path, TOP + BIKES.format(horizon="1d") + 'model.score = "no_such:Score"\n')

    [_, refused] = looks(watcher)

    assert isinstance(refused, Refused)
    assert "bikes: cannot import plug-in 'no_such:Score'" in refused.reason


def test_the_same_settings_are_no_change() -> None:
    config = parse(TOP, {}, read_file=str)

    assert stage(config, parse("# again\n" + TOP, {}, read_file=str)) == Unchanged()
