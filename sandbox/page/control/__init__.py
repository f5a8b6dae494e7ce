"""What the page does, each as any client would do it: the commands, the faults, and who carries them out."""
