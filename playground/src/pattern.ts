/** Python's regular expressions as JavaScript has them. */

const FLAGS: Record<string, string> = { i: "i", m: "m", s: "s", a: "", u: "", x: "" };

/** Nothing if it has no counterpart: then the server alone decides. */
export function fromPython(pattern: string): RegExp | undefined {
  let flags = "u";
  const inline = /^\(\?([aimsux]+)\)/.exec(pattern);
  if (inline) {
    // Blanks and comments would have to be taken out.
    if (inline[1]?.includes("x")) return undefined;
    flags += [...new Set([...(inline[1] ?? "")].map((flag) => FLAGS[flag] ?? ""))].join("");
    pattern = pattern.slice(inline[0].length);
  }
  const translated = translate(pattern);
  for (const one of [flags, flags.replace("u", "")]) {
    try {
      return new RegExp(translated, one);
    } catch {
      // Without `u`, escapes that mean nothing are taken as they are, as in Python.
    }
  }
  return undefined;
}

function translate(pattern: string): string {
  let out = "";
  let inClass = false;
  for (let at = 0; at < pattern.length; at += 1) {
    const rest = pattern.slice(at);
    const [character = "", next = ""] = rest;
    if (character === "\\") {
      out += !inClass && next === "A" ? "^" : !inClass && next === "Z" ? "$(?![\\s\\S])" : character + next;
      at += 1;
    } else if (inClass) {
      inClass = character !== "]";
      out += character;
    } else if (character === "[") {
      inClass = true;
      out += character;
      // A bracket that comes first is one of the class.
      const first = /^\[\^?\]/.exec(rest);
      if (first) {
        out += `${first[0].slice(1, -1)}\\]`;
        at += first[0].length - 1;
      }
    } else if (rest.startsWith("(?P<")) {
      out += "(?<";
      at += 3;
    } else if (rest.startsWith("(?P=")) {
      const end = rest.indexOf(")");
      if (end < 0) return pattern;
      out += `\\k<${rest.slice(4, end)}>`;
      at += end;
    } else if (character === "$") {
      // It matches before a line end that is the last character, too.
      out += "(?=\\n?$(?![\\s\\S]))";
    } else {
      out += character;
    }
  }
  return out;
}
