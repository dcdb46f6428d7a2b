// Light or dark: as the system is, unless one says otherwise.
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { keep, kept } from "../keep.ts";
import { IconButton } from "./parts.tsx";

type Theme = "auto" | "light" | "dark";

const key = "parley.theme";
const saved = kept(() => localStorage, key);
const theme = signal<Theme>(saved === "light" || saved === "dark" ? saved : "auto");

function apply(): void {
  if (theme.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
}

apply();

const next: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };

export function ThemeButton(): JSX.Element {
  const t = theme.value;
  return (
    <IconButton
      icon={t === "auto" ? "auto" : t === "light" ? "sun" : "moon"}
      label={`Colours: ${t === "auto" ? "as the system" : t}`}
      testid="theme"
      onClick={() => {
        theme.value = next[t];
        keep(() => localStorage, key, theme.value);
        apply();
      }}
    />
  );
}
