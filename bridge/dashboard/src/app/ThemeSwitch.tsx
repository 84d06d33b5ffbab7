import { ActionIcon, useMantineColorScheme } from "@mantine/core";

import { Icon } from "../parts/Icon";

const CHOICES = [
  { value: "auto", name: "as the system", icon: "system" },
  { value: "light", name: "light", icon: "sun" },
  { value: "dark", name: "dark", icon: "moon" },
] as const;

/** The theme; a press goes on to the next. */
export function ThemeSwitch() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const place = CHOICES.findIndex((one) => one.value === colorScheme);
  const chosen = CHOICES[place] ?? CHOICES[0];
  const next = CHOICES[(place + 1) % CHOICES.length] ?? CHOICES[0];
  const told = `Theme: ${chosen.name}; press for ${next.name}`;
  return (
    <ActionIcon variant="subtle" color="gray" size="lg" aria-label={told} title={told} onClick={() => setColorScheme(next.value)}>
      <Icon name={chosen.icon} />
    </ActionIcon>
  );
}
