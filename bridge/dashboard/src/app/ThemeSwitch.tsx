import { ActionIcon, Menu, useMantineColorScheme } from "@mantine/core";

import { Icon } from "../parts/Icon";

const CHOICES = [
  { value: "auto", name: "As the system", icon: "system" },
  { value: "light", name: "Light", icon: "sun" },
  { value: "dark", name: "Dark", icon: "moon" },
] as const;

export function ThemeSwitch() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const chosen = CHOICES.find((one) => one.value === colorScheme) ?? CHOICES[0];
  return (
    <Menu position="bottom-end" width={180}>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" size="lg" aria-label={`Theme: ${chosen.name}`}>
          <Icon name={chosen.icon} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {CHOICES.map((one) => (
          <Menu.Item key={one.value} leftSection={<Icon name={one.icon} />} onClick={() => setColorScheme(one.value)}
            rightSection={one.value === colorScheme ? <Icon name="SUCCEEDED" size={14} /> : null}>
            {one.name}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}
