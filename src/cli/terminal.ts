// C0 and C1 controls, DEL, line separators, and the marks that reorder a line: what can move a cursor, recolour a screen
// or make one text look like another.
const active = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
const activeButLayout = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

/** Makes text from a stranger harmless on a terminal: whatever could act there is written as `\u001b`. */
export function inert(text: string): string {
  return text.replace(active, escaped)
}

/** The same for a payload, which may have lines and tabs of its own. */
export function inertLines(text: string): string {
  return text.replace(activeButLayout, escaped)
}

/** A word for a person to paste into a shell: quoted if it must be. */
export function shellWord(text: string): string {
  return /[^\w./\\:-]/.test(text) ? `'${text.replaceAll("'", `'\\''`)}'` : text
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
