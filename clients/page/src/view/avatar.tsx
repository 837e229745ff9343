import { hueOf } from "../model/names";

/** A circle with the first letter of a name, in the colour of that user. */
export function Avatar({ user }: { user: string }) {
  return (
    <span class={`avatar hue-${hueOf(user)}`} aria-hidden="true">
      {user[0]!.toUpperCase()}
    </span>
  );
}
