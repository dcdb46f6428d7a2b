// The few icons, as strokes in the colour of the text around them.
import type { JSX } from "preact";

const paths = {
  bell: "M6 9a6 6 0 1 1 12 0c0 5 2 6 2 7H4c0-1 2-2 2-7M10 20a2 2 0 0 0 4 0",
  search: "M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14m5 12 4 4",
  plus: "M12 5v14M5 12h14",
  back: "M15 5l-7 7 7 7",
  people: "M9 5a3.500 3.500 0 1 1 0 7 3.500 3.500 0 0 1 0-7M3 20c0-3.500 2.500-5.500 6-5.500s6 2 6 5.500M16 5.500a3 3 0 0 1 0 6M17.500 15c2.300.6 3.500 2.400 3.500 5",
  reply: "M9 7l-5 5 5 5M4 12h9c4 0 7 2 7 6",
  edit: "M4 20l1-4L16 5l3 3L8 19z",
  trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13",
  smile: "M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16M8.500 14c1 1.500 2.200 2 3.500 2s2.500-.5 3.500-2M9 9.500v.5M15 9.500v.5",
  send: "M4.500 12 20 4.500 15.500 20l-3.700-6.300zM11.800 13.700 20 4.500",
  down: "M12 5v14M6 13l6 6 6-6",
  close: "M6 6l12 12M18 6L6 18",
  sun: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8M12 2.500v2M12 19.500v2M2.500 12h2M19.500 12h2M5.300 5.300l1.400 1.400M17.300 17.300l1.400 1.400M18.700 5.300l-1.400 1.400M6.700 17.300l-1.400 1.400",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500",
  auto: "M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16M12 4v16",
  archive: "M4 5h16v4H4zM6 9v10h12V9M10 13h4",
  check: "M5 12.500l4.500 4.500L19 7.500",
  checks: "M2.500 12.500 7 17l9.500-9.500M11.500 16l1 1L22 7.500",
  clock: "M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16M12 8v4.500l3 1.500",
  alert: "M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16M12 8v5M12 15.800v.2",
  more: "M12 5.500v.1M12 12v.1M12 18.500v.1",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  out: "M14 4h5v16h-5M4 12h10M10 8l4 4-4 4",
  offline: "M3 3l18 18M5 10a11 11 0 0 1 4-2.300M19 10a11 11 0 0 0-5.500-2.700M8 13.500a6 6 0 0 1 3-1.500M12 18v.1",
};

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}
