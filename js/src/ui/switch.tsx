import "./switch.css";

interface Props {
  label: string;
  on: boolean;
  colour?: string;
  title?: string;
  disabled?: boolean;
  onToggle(on: boolean): void;
}

export function Switch({ label, on, colour, title, disabled, onToggle }: Props) {
  return (
    <input
      type="checkbox"
      role="switch"
      class="sw-switch"
      aria-label={label}
      title={title}
      checked={on}
      disabled={disabled}
      style={{ "--colour": colour }}
      onChange={(event) => onToggle(event.currentTarget.checked)}
    />
  );
}
