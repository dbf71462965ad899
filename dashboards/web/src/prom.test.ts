/** Placeholders and names of lines. */
import { expect, test } from "vitest";

import { fill, legend } from "./prom";

test("placeholders take the window of rates and the length of the range", () => {
  const window = { from: 1000, to: 1900 };
  expect(fill("rate(a[$__rate_interval]) / rate(a[$__range])", window, 5)).toBe("rate(a[60s]) / rate(a[900s])");
  expect(fill("rate(a[$__rate_interval])", window, 60)).toBe("rate(a[240s])");
});

test("a line is named by its legend, else by its labels", () => {
  const labels = { __name__: "x", system_device: "sda", disk_io_direction: "read" };
  expect(legend("{{system_device}} {{ disk_io_direction }}", labels)).toBe("sda read");
  expect(legend("requests", {})).toBe("requests");
  expect(legend("{{service_version}}", {})).toBe("all");
  expect(legend("{{missing}}", labels)).toBe("system_device=sda disk_io_direction=read");
});
