// What the pages use of React Native, by its documentation.
import type { ComponentChildren, JSX } from "preact";

export type AppStateStatus = "active" | "background" | "inactive" | "unknown" | "extension";
export const AppState: {
  currentState: AppStateStatus;
  addEventListener(type: "change", listener: (state: AppStateStatus) => void): { remove(): void };
};
export function View(props: { style?: object; children?: ComponentChildren }): JSX.Element;
export function Text(props: { style?: object; children?: ComponentChildren }): JSX.Element;
export function TextInput(props: {
  value?: string;
  placeholder?: string;
  onChangeText?(text: string): void;
  onSubmitEditing?(): void;
}): JSX.Element;
export function FlatList<T>(props: {
  data: readonly T[];
  keyExtractor?(item: T, index: number): string;
  renderItem(info: { item: T; index: number }): JSX.Element | null;
  inverted?: boolean;
}): JSX.Element;
