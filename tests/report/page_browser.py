"""A headless Chromium for the tests of pages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver on the PATH"),
]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1360,1000",
)  # fmt: skip


NARROW = 1008  # px: 63 rem, where the page's layout changes


@dataclass
class Browser:
    """A headless Chromium that shows one page after another."""

    driver: Any

    def show(self, path: Path, *, width: int = 1360, dark: bool = False) -> None:
        """Open ``path`` afresh at ``width``, without any earlier state."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        self.log("browser")
        self.log("performance")
        self.driver.get(path.as_uri())
        self._settle(narrow=width < NARROW)

    def _settle(self, *, narrow: bool) -> None:
        """Wait until the page has taken the width: a busy machine lets it begin with the one before."""
        from selenium.webdriver.support.ui import WebDriverWait

        asked = f"return matchMedia('(max-width: {NARROW}px)').matches"
        WebDriverWait(self.driver, 600).until(lambda driver: driver.execute_script(asked) == narrow)
        self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def run(self, script: str, *words: object) -> Any:
        return self.driver.execute_script(script, *words)

    def run_async(self, script: str) -> Any:
        return self.driver.execute_async_script(script)

    def log(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.driver.get_log(kind)
        return found

    def requests(self) -> list[str]:
        """Every address that the page requested since it was opened."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def open_browser(profile: Path) -> Iterator[Browser]:
    """Yields one browser with its profile in ``profile``."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
