import "./provenance.css";

/** What made these numbers: model and revision, dtype, device, dictionaries, versions. */
export function Provenance({ facts }: { facts: Record<string, string> }) {
  const entries = Object.entries(facts);
  if (!entries.length) return null;
  return (
    <details class="sw-provenance">
      <summary>Provenance</summary>
      <dl>
        {entries.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}
