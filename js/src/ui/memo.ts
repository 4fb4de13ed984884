import { Component, type ComponentChild } from "preact";

/** Renders again only when a prop changes: the thousand tokens of a text must not, for every new one. */
export abstract class Memo<Props extends object> extends Component<Props> {
  override shouldComponentUpdate(next: Props): boolean {
    const keys = Object.keys(next) as (keyof Props)[];
    return keys.some((key) => next[key] !== this.props[key]);
  }
  abstract override render(props: Props): ComponentChild;
}
