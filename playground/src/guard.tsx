/** What cannot be drawn takes nothing else of the page down, and not what comes after it. */

import { Component, type ComponentChildren } from "preact";

interface Props {
  /** In words, for who reads that it cannot be shown. */
  what: string;
  /** What is drawn: when another comes, it is tried anew. */
  of: unknown;
  children: ComponentChildren;
}

interface State {
  failed: { of: unknown; why: string } | undefined;
}

export class Guard extends Component<Props, State> {
  override state: State = { failed: undefined };

  override componentDidCatch(error: unknown): void {
    this.setState({ failed: { of: this.props.of, why: error instanceof Error ? error.message : "it is odd" } });
  }

  render({ what, of, children }: Props, { failed }: State): ComponentChildren {
    if (failed?.of !== of || failed === undefined) return children;
    return (
      <p class="problems" role="alert">
        {what} cannot be shown here: {failed.why}
      </p>
    );
  }
}
