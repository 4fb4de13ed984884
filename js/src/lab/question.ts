// A lab question's state: what is asked, what is typed, and what a student can do. One per model.

import { computed, signal } from "@preact/signals";
import { type HostModel, isFrozen } from "../host/host";
import { Cancelled, Rpc } from "../host/rpc";
import { Store } from "../host/store";

export interface Asked {
  key: string;
  kind: "ask" | "predict" | "check";
  form: "text" | "choice" | "number";
  question: string;
  choices: string[];
  /** There is a teacher's answer to show afterwards. */
  tells: boolean;
  lab: string;
  student: string;
  file: string;
}

export interface Given {
  answer: string;
  /** null where nothing marks it. */
  right: boolean | null;
  tries: number;
  hint: string;
  /** The teacher's answer, once it was asked for. */
  told: string;
  tellable: boolean;
  locked: boolean;
  /** Predicted once it had turned out. */
  late: boolean;
  /** What came of a prediction. */
  outcome: string;
}

interface QuestionTraits {
  asked: Partial<Asked>;
  given: Partial<Given>;
  draft: string;
}

const EMPTY: QuestionTraits = { asked: {}, given: {}, draft: "" };
const NOTHING: Given = {
  answer: "",
  right: null,
  tries: 0,
  hint: "",
  told: "",
  tellable: false,
  locked: false,
  late: false,
  outcome: "",
};
const WAIT = 400; // ms of typing that make one message

export class Question {
  readonly frozen: boolean;
  readonly failure = signal("");
  /** What the kernel is at. */
  readonly doing = signal("");
  readonly #store: Store<QuestionTraits>;
  readonly #rpc: Rpc;
  /** A hand has emptied the field, where an answer stood. */
  readonly #emptied = signal(false);

  constructor(model: HostModel, until: AbortSignal) {
    this.frozen = isFrozen(model);
    this.#store = new Store(model, EMPTY, until);
    this.#rpc = new Rpc(model, { signal: until });
  }

  readonly asked = computed(() => {
    const asked = this.#store.traits.asked.value;
    return typeof asked.question === "string" ? (asked as Asked) : null;
  });
  readonly given = computed<Given>(() => ({ ...NOTHING, ...this.#store.traits.given.value }));

  /** What stands in the field: what is typed, or else what was answered. */
  readonly shown = computed(
    () => this.#store.traits.draft.value || (this.#emptied.value ? "" : this.given.value.answer),
  );
  /** Something is typed or chosen that is not the answer yet. */
  readonly changed = computed(() => {
    const typed = this.#store.traits.draft.value.trim();
    return typed !== "" && typed !== this.given.value.answer && !this.closed.value;
  });

  readonly closed = computed(() => this.frozen || this.given.value.locked);

  type(text: string): void {
    if (this.closed.peek()) return;
    this.#emptied.value = text === "";
    this.#store.draft("draft", text, WAIT);
  }

  /** Give what is typed or chosen as the answer. */
  async answer(): Promise<void> {
    if (this.closed.peek()) return;
    if (this.shown.peek().trim() === "") {
      const form = this.asked.peek()?.form;
      this.failure.value = `Nothing is ${form === "choice" ? "chosen" : "written"} yet.`;
      return;
    }
    const { draft } = this.#store.traits;
    const typed = draft.peek();
    const kept = await this.#ask("answer", { answer: this.shown.peek() }, "Keeping it…");
    // What was typed is the answer now, as the kernel writes it; the edit must not come back as one that is not.
    if (kept && draft.peek() === typed) this.#store.write("draft", "");
  }

  async reveal(): Promise<void> {
    await this.#ask("reveal", {}, "Fetching it…");
  }

  /** Whether the kernel did it. */
  async #ask(name: string, args: object, doing: string): Promise<boolean> {
    if (this.frozen || this.doing.peek()) return false;
    this.failure.value = "";
    this.doing.value = doing;
    try {
      const onSlow = (late: boolean) => {
        this.doing.value = late
          ? "Waiting for the kernel: it is busy with a cell, or gone."
          : doing;
      };
      await this.#rpc.request(name, args, { onSlow });
      return true;
    } catch (error) {
      if (!(error instanceof Cancelled))
        this.failure.value = error instanceof Error ? error.message : String(error);
      return false;
    } finally {
      this.doing.value = "";
    }
  }
}
