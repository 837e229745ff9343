import { Component } from "preact";

import { exactly, timeOf } from "../model/dates";
import { pieces } from "../model/links";
import type { Said } from "../model/rows";
import { TickMark } from "./icons";

interface Given {
  readonly row: Said;
  readonly onRetry: (key: string) => void;
  readonly onDrop: (key: string) => void;
}

/** One message. It is drawn anew only if something of it has changed. */
export class SaidLine extends Component<Given> {
  override shouldComponentUpdate({ row }: Given): boolean {
    const now = this.props.row;
    return row.tick !== now.tick || row.first !== now.first || row.last !== now.last || row.why !== now.why;
  }

  override render({ row, onRetry, onDrop }: Given) {
    const shape = `said ${row.mine ? "mine" : "theirs"}${row.first ? " first" : ""}${row.last ? " last" : ""}`;
    return (
      <li class={shape}>
        <span class="unseen">{`${row.mine ? "You" : row.from}, ${timeOf(row.at)}:`}</span>
        <div class={`bubble ${row.tick ?? ""}`} title={exactly(row.at)}>
          <Text text={row.text} />
        </div>
        {row.why !== undefined && (
          <div class="refusal">
            <span>Not sent: {row.why}</span>
            <button onClick={() => onRetry(row.key)}>Try again</button>
            <button onClick={() => onDrop(row.key)}>Delete</button>
          </div>
        )}
        {(row.last || row.tick === "waiting") && row.why === undefined && <Meta row={row} />}
      </li>
    );
  }
}

function Text({ text }: { text: string | undefined }) {
  if (text === undefined) return <em>The content of this message is lost</em>;
  return (
    <p dir="auto" class={onlyEmoji(text) ? "large" : undefined}>
      {pieces(text).map((piece) =>
        piece.url === undefined ? (
          piece.text
        ) : (
          <a href={piece.url} target="_blank" rel="noopener noreferrer nofollow">
            {piece.text}
          </a>
        ),
      )}
    </p>
  );
}

function Meta({ row }: { row: Said }) {
  return (
    <div class="meta">
      <time dateTime={row.at.toISOString()}>{timeOf(row.at)}</time>
      {row.tick && <TickMark tick={row.tick} />}
    </div>
  );
}

const EMOJI = /^(?:[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{RI}\u200d\ufe0f]|\s)+$/u;

function onlyEmoji(text: string): boolean {
  return text.length < 40 && EMOJI.test(text);
}
