"""What looks at a running service: `top` shows its buses, `picture` draws who sends and who reads."""
