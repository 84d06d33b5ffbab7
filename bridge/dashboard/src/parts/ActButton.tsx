import { Button, type ButtonProps } from "@mantine/core";
import { useState, type ReactNode } from "react";

import classes from "./ActButton.module.css";

interface Props extends ButtonProps {
  /** Why whoever sits here may not do it; `null` if they may. */
  refused: string | null;
  onClick: () => void;
  children: ReactNode;
  "aria-label"?: string;
}

/** A button that does something. One that must not be pressed says why: to the pointer, to the ear, and when pressed. */
export function ActButton({ refused, onClick, ...rest }: Props) {
  const [told, setTold] = useState(false);
  if (refused === null) return <Button {...rest} onClick={onClick} />;
  return (
    <span className={classes["refused"]}>
      <Button {...rest} data-disabled aria-disabled="true" aria-description={refused} title={refused} onClick={() => setTold(true)} />
      <span role="status" className={told ? "muted small" : "unseen"}>{told && refused}</span>
    </span>
  );
}
