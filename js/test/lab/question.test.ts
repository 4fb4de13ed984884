import { describe, expect, it } from "vitest";
import labQuestion from "../../src/widgets/lab_question";
import { staticModel } from "../../src/widgets/static_host";
import { FakeModel } from "../host/fake_model";
import { button, el, named, painted, show } from "../page";

const ASKED = {
  key: "fires",
  kind: "ask",
  form: "text",
  question: "Which <b>fires</b>?",
  choices: [],
  tells: true,
  lab: "sea",
  student: "Ada",
  file: "sea--ada.lab.json",
};
const GIVEN = {
  answer: "",
  right: null,
  tries: 0,
  hint: "",
  told: "",
  tellable: false,
  locked: false,
  outcome: "",
};

let model: FakeModel;

function mount(asked: object = {}, given: object = {}, draft = "", frozen = false): void {
  const state = { asked: { ...ASKED, ...asked }, given: { ...GIVEN, ...given }, draft };
  model = new FakeModel(state);
  show(labQuestion, frozen ? staticModel(state) : model);
}

const sent = (name: string) => model.sent.filter((message) => message.name === name);
const field = () => named<HTMLInputElement>("Your answer");
const status = () => el.querySelector("[role=status]")?.textContent;
const radios = () => [...field().querySelectorAll("input")];

function type(text: string): void {
  field().value = text;
  field().dispatchEvent(new InputEvent("input", { bubbles: true }));
}

function press(key: string, more: KeyboardEventInit = {}, target: Element = field()): void {
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, ...more }));
}

describe("a question", () => {
  it("is text, and says what it is", async () => {
    mount();
    await painted();
    expect(el.querySelector("b")).toBeNull();
    expect(el.textContent).toContain("Which <b>fires</b>?");
    expect(named("Question")).toBeTruthy();
    expect(status()).toBe("an answer is shown after yours");
  });

  it("keeps what is typed, in one message for many keys, and gives it as the answer", async () => {
    mount();
    await painted();
    for (const text of ["T", "Th", "The"]) type(text);
    await painted(500);
    expect(model.saved).toEqual([{ draft: "The" }]);
    expect(status()).toContain("not given yet");
    button("Keep answer")?.click();
    await painted();
    expect(sent("answer").map((message) => message.args)).toEqual([{ answer: "The" }]);
  });

  it("is given by Ctrl+Enter where it has many lines, by Enter where it has one", async () => {
    mount();
    await painted();
    type("a text");
    press("Enter");
    expect(sent("answer")).toHaveLength(0);
    press("Enter", { ctrlKey: true });
    expect(sent("answer")).toHaveLength(1);
  });

  it("is given by Enter where a number is asked for", async () => {
    mount({ kind: "check", form: "number" });
    await painted();
    expect(field().inputMode).toBe("decimal");
    type("2");
    press("Enter");
    expect(sent("answer").at(-1)?.args).toEqual({ answer: "2" });
  });

  it("is what the kernel wrote of it once it is given", async () => {
    mount({ kind: "check", form: "number" });
    await painted();
    type("72,5");
    press("Enter");
    model.changes("given", { ...GIVEN, answer: "72.5", right: false, tries: 1 });
    model.says({ type: "result", id: model.lastId, value: { right: false } });
    await painted(1000);
    expect(field().value).toBe("72.5");
    expect(status()).toContain("kept in");
  });

  it("is not given by Shift+Enter, which runs a cell", async () => {
    mount({ kind: "predict", form: "number" });
    await painted();
    type("2");
    press("Enter", { shiftKey: true });
    expect(sent("answer")).toHaveLength(0);
  });

  it("stays empty once it was emptied, whatever stood there before", async () => {
    mount({ kind: "check", form: "number" }, { answer: "13", right: false, tries: 1 });
    await painted();
    expect(field().value).toBe("13");
    type("");
    await painted(500);
    expect(field().value).toBe("");
  });

  it("stresses what stands between asterisks, and takes nothing else for markup", async () => {
    mount({ question: "Is *it* <b>so</b>? 2 * 3 * 4, *two words*, a*b*c" });
    await painted();
    expect([...el.querySelectorAll("em")].map((each) => each.textContent)).toEqual([
      "it",
      "two words",
    ]);
    expect(el.querySelector("b")).toBeNull();
    expect(el.textContent).toContain("2 * 3 * 4");
    expect(el.textContent).toContain("a*b*c");
  });

  it("says where nothing is written or chosen", async () => {
    mount();
    await painted();
    button("Keep answer")?.click();
    await painted();
    expect(el.querySelector("[role=alert]")?.textContent).toContain("Nothing is written yet.");
    expect(sent("answer")).toHaveLength(0);
  });

  it("has choices by arrows and Enter", async () => {
    mount({ kind: "predict", form: "choice", choices: ["the sea", "<i>no</i>"] });
    await painted();
    expect(radios()).toHaveLength(2);
    expect(el.querySelector("i")).toBeNull();
    radios()[1]?.click();
    await painted();
    press("Enter", {}, radios()[1]);
    expect(sent("answer").at(-1)?.args).toEqual({ answer: "<i>no</i>" });
  });

  it("shows what came of it: right, not right with the hint, the outcome", async () => {
    mount({ kind: "check" }, { answer: "x", right: false, tries: 2, hint: "Count <u>again</u>." });
    await painted();
    expect(el.textContent).toContain("Not right yet, 2 tries so far. Count <u>again</u>.");
    model.changes("given", { ...GIVEN, answer: "y", right: true, tries: 3, locked: true });
    await painted();
    expect(el.textContent).toContain("Right.");
    expect(button("Check")).toBeUndefined();
    expect(field().textContent).toBe("y");
  });

  it("sets a prediction beside what came of it", async () => {
    mount(
      { kind: "predict", form: "choice", choices: ["a", "b"] },
      { answer: "a", right: false, locked: true, outcome: "b" },
    );
    await painted();
    expect(el.textContent).toContain("Not as you predicted: b");
    expect(radios().every((radio) => radio.disabled)).toBe(true);
    expect(button("Predict")).toBeUndefined();
  });

  it("shows the teacher's answer only when asked for", async () => {
    mount({}, { answer: "mine", tellable: true });
    await painted();
    button("Show the answer")?.click();
    await painted();
    expect(sent("reveal")).toHaveLength(1);
    const told = { ...GIVEN, answer: "mine", told: "theirs", locked: true };
    model.changes("given", told);
    model.says({ type: "result", id: model.lastId, value: {} });
    await painted();
    expect(named("An answer").textContent).toContain("theirs");
    expect(button("Show the answer")).toBeUndefined();
  });

  it("says an error of the kernel, and keeps what is typed", async () => {
    mount();
    await painted();
    type("The sea");
    press("Enter", { metaKey: true });
    model.says({ type: "error", id: model.lastId, error: { message: "The disk is full." } });
    await painted();
    expect(el.querySelector("[role=alert]")?.textContent).toContain("The disk is full.");
    expect(field().value).toBe("The sea");
  });

  it("cannot be answered in a frozen copy", async () => {
    mount({}, { answer: "mine", tellable: true }, "", true);
    await painted();
    expect(el.textContent).toContain("frozen copy");
    expect(field().textContent).toBe("mine");
    expect(el.querySelectorAll("button, textarea")).toHaveLength(0);
  });
});
