"""Pictures in Markdown: each study as one file beside the charts, its words in the text."""

from __future__ import annotations

from urllib.parse import quote

from mmad.report.markdown_words import escape
from mmad.report.pictures import AblationPictures, PairPictures, Pictures, StudyPicture
from mmad.report.pictures_raster import raster
from mmad.report.pictures_words import at_stake, differs, drawn_and_counted, gained, has_more_settings, panels_of
from mmad.report.story import AblationStory
from mmad.report.words import clip


def picture_lines(
    ablation: AblationStory, pictures: Pictures, folder: str, files: list[tuple[str, bytes]]
) -> list[str]:
    """The pictures of an ablation; what they refer to in ``folder`` is added to ``files`` as (name, JPEG)."""
    found, lines = pictures.of(ablation.frame), []
    if found.told:
        lines += ["### Pictures: where the arms differ most", ""]
    if found.labels:
        legend = ", ".join(f"{n} {escape(clip(label, 60))}" for n, label in enumerate(found.labels, 1))
        lines += [
            "The studies on which the arms' hits less false alarms differ most: \\+2 is two more for the second arm. "
            f"Solid: true, or rightly found; dashed: false alarm; dotted: missed. {legend}.",
            "",
        ]
    for number, pair in enumerate(found.told, 1):
        lines += _pair(pair, found, f"{ablation.anchor}-pair-{number}", folder, files)
    for note in found.notes:
        lines += [escape(note.text) + (f" `{note.command}`" if note.command else ""), ""]
    return lines


def _pair(
    pair: PairPictures, found: AblationPictures, name: str, folder: str, files: list[tuple[str, bytes]]
) -> list[str]:
    setting = f": {escape(clip(pair.setting, 120))}" if has_more_settings(found) else ""
    lines = [f"**{escape(clip(pair.other, 60))} against {escape(clip(pair.reference, 60))}{setting}**", ""]
    if pair.why:
        lines += [f"No pictures: {escape(clip(pair.why, 400))}.", ""]
    if pair.studies:
        lines += [escape(drawn_and_counted(pair)), ""]
    for number, picture in enumerate(pair.studies, 1):
        lines += _study(picture, pair, found, f"{name}-{number}.jpg", folder, files)
    return lines


def _study(
    picture: StudyPicture,
    pair: PairPictures,
    found: AblationPictures,
    name: str,
    folder: str,
    files: list[tuple[str, bytes]],
) -> list[str]:
    source = f" Source: {escape(clip(picture.source, 160))}." if picture.source else ""
    study = escape(clip(picture.study, 120))
    said = f"{escape(differs(picture, pair))} {escape(at_stake(picture, pair))}{source}"
    lines = [f"Study **{study}**, {escape(gained(picture, pair))}. {said}", ""]
    if not picture.film:
        return [*lines, f"No picture: {escape(clip(picture.note, 300))}.", ""]
    views = panels_of(picture, pair)
    files.append((name, raster(found.films[picture.film], views)))
    words = "; ".join(f"{view.title}: {view.summary}" for view in views)
    return [*lines, f"![Study {study}. {escape(words)}]({quote(folder)}/{quote(name)})", ""]
